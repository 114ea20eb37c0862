"""Records to tables, figures and pages; see the README of the folder above."""
