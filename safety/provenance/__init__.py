"""What an image file says about its own making."""
