module pertoken.dev/sandbox/tools/neighbours

go 1.26.0

require (
	github.com/kserve/kserve v0.17.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
	sigs.k8s.io/gateway-api-inference-extension v1.3.0
	sigs.k8s.io/karpenter v1.14.0
	sigs.k8s.io/kueue v0.15.0
	sigs.k8s.io/lws v0.8.0
)
