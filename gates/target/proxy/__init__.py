"""A proxy on the client's side of an endpoint that seeds defects into a share of the responses, and writes down what it did."""
