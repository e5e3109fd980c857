"""How the judge of contradictions in the package is made."""
