"""What a model is: its contract (``spec``) and its file (``model_file``)."""
