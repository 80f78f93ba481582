"""A static web page that shows the images of several models side by side, down to the pixel.

    folders of images -> rows of images of one prompt -> tile pyramids and numbers -> page

The page needs no server: it opens from a file as well as from any static host.
"""
