"""How each kind of reference numbers is reproduced: one module per network or component."""
