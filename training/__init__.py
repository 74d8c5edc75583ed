"""How the shipped model is made: a painter, a small CLIP pair, a VAE, a U-Net.

Everything learns from pictures that `painter` paints and captions that `captions` writes about them,
so whether an image shows what its prompt says can be measured. Nothing here runs in the service.
"""
