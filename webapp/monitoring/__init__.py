"""What the log says about the model in use: accuracy, drift, latency, errors, traffic."""
