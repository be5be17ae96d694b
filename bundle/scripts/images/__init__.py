"""Two-dimensional images of any modality: their stored pixels, and where these lie when the image stands upright."""
