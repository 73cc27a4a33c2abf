"""What every entry of a table passes by being registered in it."""
