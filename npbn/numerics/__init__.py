"""What the kernels of `npbn.functional` share: arrays, their layout and sums, the tape."""
