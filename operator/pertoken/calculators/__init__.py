"""What the command line computes from the models: estimates, curves, quotes, break-even points, fits."""
