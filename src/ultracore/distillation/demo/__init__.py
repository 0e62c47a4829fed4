"""`distill demo`: a synthetic bank whose teacher changes its mind, behind the real gateway and the real loop."""
