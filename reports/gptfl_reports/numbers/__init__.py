"""Statistics made of records: spreads, intervals, standings, ranks."""
