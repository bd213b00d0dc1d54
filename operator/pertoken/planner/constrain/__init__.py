"""Stage `constrain`: the last rails of one service: spend, bounds, rollouts, pods that nothing can schedule."""
