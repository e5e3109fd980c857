"""How the bundled base model is made: `python -m base_model --help`, and README.md here."""
