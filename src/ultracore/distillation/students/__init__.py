"""Small models that propose whole calls."""
