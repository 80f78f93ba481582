"""How the network is held and stepped: precision, processes, optimizers, memory."""
