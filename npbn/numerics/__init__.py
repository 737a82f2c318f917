"""What the kernels share: it knows arrays and numbers, no layer and no network."""
