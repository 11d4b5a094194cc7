"""Everything that is distributed: sessions, tables, packing, training, scoring, evaluation."""
