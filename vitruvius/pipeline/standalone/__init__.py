"""What exported programs are made of: reading weights and data with torch and Python alone.

``vitruvius.pipeline.program`` copies these sources, so nothing here imports anything else of ours.
"""
