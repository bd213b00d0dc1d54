"""Operating points out of the result files of load generators."""
