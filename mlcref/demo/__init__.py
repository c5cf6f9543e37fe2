"""The demo: a two-layer classifier of Fashion-MNIST images, from TVMScript to compiled kernels."""
