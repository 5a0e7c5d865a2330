"""Everything between "chosen" and "annotated": request, wait, collect; pre-labels and the annotation tool."""
