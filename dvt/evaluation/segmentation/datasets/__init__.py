"""Pictures with a class for every pixel: CamVid, VOC2012, ADE20K. Nothing is imported here."""
