"""Procedural road scenes in the trees of the real data sets: enough to run the whole story without a download.

``kinds``      what can be drawn, and the number that each published label format gives it
``camera``     the pinhole camera, the road's course and its cross-section
``canvas``     one raster of surface numbers, from which image and label are both looked up
``ground`` ``buildings`` ``plants`` ``furniture`` ``vehicles`` ``people``   what stands in a street
``unseen``     the objects of the OOD sets, never drawn for training
``scene``      a street as a list of such things, by one placement rule for all
``shading``    light, weather and sensor
``trees``      the usual four folder trees, ``more_trees`` five further ones;  ``synthesize`` fills them with workers
"""
