"""How much CPU one planning cycle takes on one core, by size of the cluster."""
