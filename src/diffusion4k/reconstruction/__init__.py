"""How well an autoencoder gives photographs back."""
