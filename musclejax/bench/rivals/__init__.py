"""The network in other frameworks, each as its own authors recommend for a CPU.

Inference returns what `musclejax segment` takes from its engines: labels, their confidence and the
probability of every class in steps of 1/255, as uint8.
"""
