"""Learning a few images that train as well as many: real squares -> whitened space -> matched by a method -> images."""
