"""Steps: facts from the adapters, a decision, an act and its record, for what two or more commands do."""
