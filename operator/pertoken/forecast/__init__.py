"""What will be asked: demand at the learnt start-up lead, and the load at which the objectives are lost."""
