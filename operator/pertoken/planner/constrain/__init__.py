"""Stage `constrain`: limits of one service: spend, bounds, rollouts, pods that nothing can schedule."""
