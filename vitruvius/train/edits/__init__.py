"""How each kind of edit is carried out in the bodies of a model."""
