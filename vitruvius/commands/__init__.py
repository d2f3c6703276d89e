"""The commands: ``vitruvius NAME`` is the function NAME of the file of that name.

What a command needs it imports when it runs, so that help and completion wait for no torch.
"""
