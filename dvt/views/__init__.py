"""Views: random crops of one image as plain data, their pixels and the places that their patches look at."""
