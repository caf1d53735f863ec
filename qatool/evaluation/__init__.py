"""How good answers are: figures against references, calibration, and the report that shows them."""
