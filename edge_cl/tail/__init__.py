"""The layers above the replay layer as a torch network, trained further on the device.

`TailHead` is what strategies see: a head over one flat weight vector, like the others.
Below it `TailNet` runs an ONNX graph in torch, operator by operator. Nothing here is
imported before a strategy is made that trains a tail: it needs the extra ``torch``.
"""
