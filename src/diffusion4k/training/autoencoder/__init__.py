"""Scale-consistent training: a frozen F=8 autoencoder teaches an F=16 one (arXiv 2506.01331)."""
