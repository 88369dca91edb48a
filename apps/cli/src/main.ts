console.log("genai");
