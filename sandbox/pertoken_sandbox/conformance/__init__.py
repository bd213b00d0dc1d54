"""The real vLLM, the sandbox's emulated engine and the simulator, given the same requests and the same step times."""
