"""What methods are seen beside: training that is not federated, so it is never ranked."""
