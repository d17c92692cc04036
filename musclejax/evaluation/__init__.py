"""How good labels are: against a reference, in numbers, tables and pictures."""
