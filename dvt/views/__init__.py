"""Views: random crops of one image, their pixels, and the image positions of their patches."""
