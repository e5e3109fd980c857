"""How the two small models that evaluate, the judge of contradictions and the ranker of replies, are made."""
