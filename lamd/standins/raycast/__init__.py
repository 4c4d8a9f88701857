"""Pictures of MuJoCo scenes by casting rays, without OpenGL."""
