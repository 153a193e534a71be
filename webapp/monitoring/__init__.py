"""Step 5, monitor: how accurate is the model really, has the traffic changed, how fast is it, what fails."""
