"""Who speaks: CAM++ x-vectors and their front ends."""
