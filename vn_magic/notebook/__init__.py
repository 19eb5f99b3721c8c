"""What a person sees in IPython and Jupyter. The only floor that imports IPython and ipywidgets."""
