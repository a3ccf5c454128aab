"""From a recipe to what the trainer is given: schema, validation, compilation. Pure: no Django, no torch, no verl."""
