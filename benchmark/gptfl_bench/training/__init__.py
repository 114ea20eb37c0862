"""The one training loop, evaluation, distillation and central pre-training."""
