"""The proof of our rates: rounds of a real model are banked, verdicts replayed from them, and the page ``docs/rigor.md`` written."""
